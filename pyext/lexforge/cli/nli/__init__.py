"""Natural language inference: whether one text follows from another, contradicts it, or neither.

`lexforge nli train snli --out nli/` trains on pairs of captions; any pairs of texts with classes do
as well. `lexforge bert finetune` does the same with a pretrained BERT, and `predict` and `evaluate`
here take what it made.
"""
