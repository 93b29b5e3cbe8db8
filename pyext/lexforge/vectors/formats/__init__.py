"""Files of word vectors, in everybody's formats."""
