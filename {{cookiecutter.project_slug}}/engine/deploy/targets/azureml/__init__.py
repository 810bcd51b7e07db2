"""Azure Machine Learning: a managed online endpoint in front of one deployment for each release."""
