"""The demo: three YAML files, real features, two models behind one name, live traffic, and a check for skew."""
