"""Tables of rows by number, plain."""
