"""What is doubtful in data: labels that may be wrong, examples that nearly repeat, annotators who disagree."""
