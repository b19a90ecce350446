"""What a report says whatever the runs say: confounds, literature, methods."""

CONFOUNDS = (
    ("raw features", "the network meets glucose in the hundreds and pedigree below 1", "data=pima_standardized", "data.scaling"),
    ("narrow uniform initialisation", "U(-0.05, 0.05) is 11 to 16 times narrower than Glorot's here",
     "model.initialization=glorot_uniform", "model.initialization"),
    ("one learning rate for all", "what is best depends on optimizer and batch size", "optimizer.lr=0.0003,0.001,0.003",
     "optimizer.lr"),
    ("equal epochs, unequal updates", "123, 62, 39 and 20 updates an epoch with batches of 5, 10, 16 and 32",
     "trainer.epochs=50,100,159,310", "trainer.epochs"),
    ("fixed cyclic order", "every epoch serves the same batches", "batch.shuffle=true", "batch.shuffle"),
    ("test rows watched as validation", "what is chosen by them is too good on them", "data=pima_honest", "data.val_fraction"),
    ("a single run", "seeds alone move the curves", "n_replicates=100", ""),
    ("majority rate 0.651", "an accuracy below it says less than no network; see the floors", "", ""),
    ("missing values coded as zero", "374 of 768 women have insulin 0", "data.missing=median", "data.missing"),
    ("thresholds chosen after seeing curves", "the maximum of 100 noisy epochs is not a level", "claim: threshold", ""),
    ("running against end-of-epoch accuracy", "the training curve is measured while the weights still move",
     "claim: curve: train/accuracy_end", ""),
)  # fmt: skip
"""What is confounded, why it matters, the switch that separates it, the setting."""

LITERATURE = (
    "From the literature: StatLog (Michie, Spiegelhalter, Taylor 1994; 12-fold accuracy): logistic discrimination 0.777, "
    "DIPOL92 0.776, backpropagation 0.752, majority 0.650. ADAP (Smith et al. 1988): sensitivity = specificity = 0.76 on "
    "192 women. Reports of 0.87 to 0.99 on this table are not usable as references."
)

METHODS = (
    "Replicates share seeds across settings, so contrasts are paired. Shares have Wilson intervals; means, ratios, slopes "
    "and differences BCa bootstrap intervals over seeds as blocks, all at 95 %. A final score is the mean over the last 20 "
    "epochs; volatility is the standard deviation about the line through these. A run that diverged has not reached a "
    "threshold and does not learn; its final score is missing and counted; failed runs are left out and counted. A verdict "
    "is supported or refuted by the claim's own rule, undecided when an interval straddles its bound, untestable when runs "
    "are missing or fewer than 10 replicates are complete. Robust: at least 90 % of the other reasonable choices give the "
    "same word. Primary claims are also held to Holm's correction, exploratory ones to that of Benjamini and Hochberg. "
    "Intervals are about seeds on this one table; those of the floors are for new patients (Nadeau and Bengio 2003)."
)
