// Command handler is an empty Lambda function: what every one in Go costs.
package main

import "github.com/aws/aws-lambda-go/lambda"

func main() {
	lambda.Start(func() error { return nil })
}
