"""From trained parameters to speech: synthesis, reconstruction, recognition, and the vocoders."""
