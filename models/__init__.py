"""What a model is: catalogue, recipes, labels, scores, files. Knows neither cameras nor how it is run."""
