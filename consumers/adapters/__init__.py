"""The outside world as the steps see it: SAP, the mail server, the typesetter."""
