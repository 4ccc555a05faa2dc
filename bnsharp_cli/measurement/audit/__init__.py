"""Whether the stated errors of a measured BN-Sharpness are true: each against evidence of another kind."""
