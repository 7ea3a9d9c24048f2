"""Stand-ins for SAP and the mail server, which speak their real protocols. They import no code of the product."""
