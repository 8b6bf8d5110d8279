"""What public functions are given: arrays and other arguments, looked at where they come in."""
