package event

// Answer is what the function answers. With {"code": 200, "message": "ok"} a rotation went well.
type Answer struct {
	// Code is 200, or 400 for all that goes wrong with a request.
	Code int `json:"code"`
	// Message is for a person: ok, what a dry run or a preparation found and made, or why it failed and what to do.
	Message string `json:"message"`
	// Made and Found are the names of what a preparation made, and of what was there already.
	Made  []string `json:"made,omitempty"`
	Found []string `json:"found,omitempty"`
	// Warning is what a person should know although all went well.
	Warning string `json:"warning,omitempty"`
}

// OK reports whether what was asked for was done.
func (a Answer) OK() bool { return a.Code == 200 }
