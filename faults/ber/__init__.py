"""Accuracy at a bit error rate: every stored bit is wrong with the same probability.

`questions` are what one asks: which scheme meets its goal, which layers matter, which rates hurt;
`study` runs their campaigns on the files of `programs`. `experiment` is one campaign: start there;
`options` are its choices. `memories` and `protection` say which bits there are and which a scheme
masks, `machine` which flips an inference meets; `results`, `rates` and `sensitivity` are what is
read off a campaign, `fit` links rates to failures in time.
"""
