"""The numbers: everything here compiles, or is called by what compiles."""
