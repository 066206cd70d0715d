"""Observers that write for other people's dashboards: TensorBoard, Weights & Biases."""
