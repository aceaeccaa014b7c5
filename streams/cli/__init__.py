"""The command line: ``nightcast NOUN VERB``. Each noun is a module with a Typer application of its own."""
