// Command program is an empty Pulumi program: what every Pulumi program in Go costs.
package main

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

func main() {
	pulumi.Run(func(*pulumi.Context) error { return nil })
}
