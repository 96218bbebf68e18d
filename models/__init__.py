"""What a model is: catalogue, recipes, labels, scores, files. Knows nothing of cameras or of how a model is run."""
