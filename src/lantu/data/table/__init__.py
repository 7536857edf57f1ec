"""Tables: what each column is, and the data module."""
