"""A package: without this file pytest takes the scope of its fixtures for the session's, and ends nothing before."""
