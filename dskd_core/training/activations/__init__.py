"""What the teacher leaves for training, captured once or made beside it."""
