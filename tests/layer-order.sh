# The order of modules within a folder: a file may include headers to the right of it, never to the left.
# Sourced by check-layers.sh.
order common conn ledger superslab list check atomic
