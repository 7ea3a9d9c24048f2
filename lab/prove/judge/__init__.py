"""The judgement of a proof: effects gathered where they landed, held against what each order owes."""
