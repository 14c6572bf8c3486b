module cascade/examples/go-carrier

go 1.21
