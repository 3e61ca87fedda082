"""Amounts, prices, telephone numbers, times, dates and spelled names, composed from the embedded recordings."""
