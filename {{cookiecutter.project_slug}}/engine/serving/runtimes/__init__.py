"""The engines that compute: ONNX Runtime and joblib. Arrays in, arrays out."""
