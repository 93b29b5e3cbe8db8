"""What a transformer's layers are made of, beside attention."""
