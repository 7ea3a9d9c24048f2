"""What never ships: a whole system on this machine, and the programs that try it. Nothing that ships imports lab."""
