"""What rayctl tells about itself to those who operate it: metrics and structured logs."""
