package provider

import (
	"encoding/json"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Same reports whether two values of an input mean the same.
type Same = func(old, new resource.PropertyValue) bool

// SameJSON compares texts of JSON by what they mean: the order of keys says nothing, nor does that of a list, nor whether
// one value stands alone or in a list. So the provider compares policies
// (https://github.com/hashicorp/awspolicyequivalence; verify.SuppressEquivalentPolicyDiffs in
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/verify/json.go).
func SameJSON(old, new resource.PropertyValue) bool {
	if !old.IsString() || !new.IsString() {
		return false
	}
	var one, other any
	if json.Unmarshal([]byte(old.StringValue()), &one) != nil || json.Unmarshal([]byte(new.StringValue()), &other) != nil {
		return false
	}
	return reflect.DeepEqual(normal(one), normal(other))
}

// normal is the value in the one form that all values of its meaning have.
func normal(value any) any {
	switch v := value.(type) {
	case map[string]any:
		all := map[string]any{}
		for key, item := range v {
			all[key] = normal(item)
		}
		return all
	case []any:
		if len(v) == 1 {
			return normal(v[0])
		}
		all := make([]any, len(v))
		for i, item := range v {
			all[i] = normal(item)
		}
		text := func(item any) string { encoded, _ := json.Marshal(item); return string(encoded) }
		sort.SliceStable(all, func(i, j int) bool { return text(all[i]) < text(all[j]) })
		return all
	default:
		return v
	}
}

// SameSet compares lists whose order says nothing.
func SameSet(old, new resource.PropertyValue) bool {
	if !old.IsArray() || !new.IsArray() || len(old.ArrayValue()) != len(new.ArrayValue()) {
		return false
	}
	left := slices.Clone(new.ArrayValue())
	for _, item := range old.ArrayValue() {
		at := slices.IndexFunc(left, item.DeepEquals)
		if at < 0 {
			return false
		}
		left = slices.Delete(left, at, at+1)
	}
	return true
}

// Changed are the inputs whose update brings what stands to what is wanted. Providers behind Pulumi's bridge compare with
// the state, as the last refresh has found it, and not with the inputs of the last update: what somebody has added by hand
// is a difference too (Provider.Diff in https://github.com/pulumi/pulumi-terraform-bridge/blob/master/pkg/tfbridge/provider.go).
func (r Resource) Changed(state, wanted resource.PropertyMap) []string {
	var changed []string
	for _, name := range r.Inputs {
		key := resource.PropertyKey(name)
		if !r.same(name, state[key], wanted[key]) {
			changed = append(changed, name)
		}
	}
	sort.Strings(changed)
	return changed
}

// same compares the property at the path, as in "vpcConfig.subnetIds".
func (r Resource) same(path string, old, new resource.PropertyValue) bool {
	if unset(new) && (unset(old) || slices.Contains(r.Computed, path)) {
		return true
	}
	if same := r.Same[path]; same != nil && same(old, new) {
		return true
	}
	if !old.IsObject() || !new.IsObject() {
		return old.DeepEquals(new)
	}
	keys := map[resource.PropertyKey]bool{}
	for _, object := range []resource.PropertyMap{old.ObjectValue(), new.ObjectValue()} {
		for key := range object {
			keys[key] = true
		}
	}
	for key := range keys {
		if !r.same(path+"."+string(key), old.ObjectValue()[key], new.ObjectValue()[key]) {
			return false
		}
	}
	return true
}

// unset reports whether the value is what a property has that nobody has set.
func unset(value resource.PropertyValue) bool {
	switch {
	case value.IsNull():
		return true
	case value.IsString():
		return value.StringValue() == ""
	case value.IsBool():
		return !value.BoolValue()
	case value.IsNumber():
		return value.NumberValue() == 0
	case value.IsArray():
		return len(value.ArrayValue()) == 0
	case value.IsObject():
		return len(value.ObjectValue()) == 0
	default:
		return false
	}
}

// renewed are the outputs that are not known before an update of these inputs has ended.
func (r Resource) renewed(changed []string) []string {
	var outputs []string
	for _, name := range changed {
		outputs = append(outputs, r.Renews[name]...)
	}
	return outputs
}

// read brings the inputs of the last update to what a read has found, as the bridge does: a refresh looks for those alone
// that the program has set, an import (old is nil) for all. Of a list it takes no more items than the program had, and of a
// map no more keys; the rest shows in the outputs (extractInputs in
// https://github.com/pulumi/pulumi-terraform-bridge/blob/master/pkg/tfbridge/schema.go).
func (r Resource) read(old, live resource.PropertyMap) resource.PropertyMap {
	inputs := resource.PropertyMap{}
	if len(old) == 0 {
		for _, name := range r.Inputs {
			if value, set := live[resource.PropertyKey(name)]; set {
				inputs[resource.PropertyKey(name)] = value
			}
		}
		return inputs
	}
	for key, value := range old {
		if strings.HasPrefix(string(key), "__") {
			inputs[key] = value
		} else if found, set := live[key]; set {
			inputs[key] = foundIn(value, found)
		}
	}
	return inputs
}

func foundIn(old, live resource.PropertyValue) resource.PropertyValue {
	switch {
	case old.IsArray() && live.IsArray():
		items := []resource.PropertyValue{}
		for i := range min(len(old.ArrayValue()), len(live.ArrayValue())) {
			items = append(items, foundIn(old.ArrayValue()[i], live.ArrayValue()[i]))
		}
		return resource.NewProperty(items)
	case old.IsObject() && live.IsObject():
		object := resource.PropertyMap{}
		for key, value := range old.ObjectValue() {
			if found, set := live.ObjectValue()[key]; set {
				object[key] = foundIn(value, found)
			}
		}
		return resource.NewProperty(object)
	default:
		return live
	}
}
