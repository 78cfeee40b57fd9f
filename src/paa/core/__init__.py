"""The paper: pure functions of tensors, which stand on nothing but torch, torchvision's operators and numpy."""
