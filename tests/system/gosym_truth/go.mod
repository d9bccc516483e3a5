module gosym_truth

go 1.19
