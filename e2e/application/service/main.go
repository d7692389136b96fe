// Command service is a service that runs for long: for each line of its input it
// prints the database user of a new connection.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"esc-connector-lambda-go/e2e/application"
)

func main() {
	if err := serve(context.Background(), os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, environment string) error {
	pool, err := application.Connect(ctx, environment)
	if err != nil {
		return err
	}
	defer pool.Close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		pool.Reset() // the connections' lifetime ends
		var user string
		if err := pool.QueryRow(ctx, "SELECT session_user").Scan(&user); err != nil {
			return err
		}
		fmt.Println(user)
	}
	return nil
}
