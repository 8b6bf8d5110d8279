"""What a run looks like: tables for spreadsheets, traces for Perfetto, pictures.

Everything here reads results and draws or writes them; nothing here computes a number that another
part has not counted. Start with `layers` (one row a layer), then `plots` and `trace`.
"""
