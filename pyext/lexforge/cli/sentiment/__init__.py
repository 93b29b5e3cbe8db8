"""The class of a text: train on texts with classes, classify others, evaluate.

`lexforge sentiment train imdb --out sentiment/` trains on film reviews that are positive or
negative; any other classes do as well. `lexforge bert finetune` does the same with a pretrained
BERT, and `predict` and `evaluate` here take what it made.
"""
