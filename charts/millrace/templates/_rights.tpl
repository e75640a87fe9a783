{{- /*
What the operator may do. Each right is one that the tests saw it use, and it works there with these alone
(tests/operators/rights.py).
*/ -}}

{{- /* In the namespaces of views and models. */ -}}
{{- define "millrace.rights" -}}
- apiGroups: [millrace.dev]
  resources: [featureviews, modeldeployments, experiments]
  verbs: [get, list, watch, patch]
- apiGroups: [millrace.dev]
  resources: [featureviews/status, modeldeployments/status, experiments/status]
  verbs: [patch]
# Children hold up the deletion of their owner, which OwnerReferencesPermissionEnforcement wants this for. It also wants
# the right to delete what gets another owner: secrets, poddisruptionbudgets and servicemonitors are deleted for no other reason.
- apiGroups: [millrace.dev]
  resources: [featureviews/finalizers, modeldeployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [cronjobs, jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [millrace-store-url]
  verbs: [get, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
{{- end -}}

{{- /* Of what no namespace has: nodes, for their GPUs. */ -}}
{{- define "millrace.clusterRights" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}

{{- /* In the operator's own namespace: its Lease, and, where it has no rights everywhere, the Jobs that purge. */ -}}
{{- define "millrace.ownRights" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [millrace-operator]
  verbs: [get, update]
{{- if .Values.namespaces }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
{{- end -}}
