module go_self_truth

go 1.19
