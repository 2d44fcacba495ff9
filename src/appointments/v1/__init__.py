"""Generated from proto/appointments/v1. Do not edit."""
