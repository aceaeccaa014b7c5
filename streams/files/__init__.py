"""Single files by hand: the functions of the night path without Kafka."""
