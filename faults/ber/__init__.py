"""Accuracy at a bit error rate: every stored bit is wrong with the same probability.

`experiment` is the campaign: start there; `options` are its choices. `memories` and `protection`
say which bits there are and which a scheme masks, `machine` which flips an inference meets;
`results`, `rates` and `sensitivity` are what is read off a campaign, `fit` links rates to failures
in time.
"""
