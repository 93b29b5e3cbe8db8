"""Tables of rows by number: lookups, bags, renormalisation."""
