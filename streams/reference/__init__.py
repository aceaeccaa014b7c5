"""Reference pages and pictures, written from the code they describe: ``make docs``."""
