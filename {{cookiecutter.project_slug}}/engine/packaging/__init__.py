"""From what an engineer has (ONNX, scikit-learn, MLflow) to a model package."""
