{{/* The name of everything in the release. */}}
{{- define "flickrhub-operator.name" -}}
{{- if contains "flickrhub-operator" .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-flickrhub-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What the pods are selected by. */}}
{{- define "flickrhub-operator.selector" -}}
app.kubernetes.io/name: flickrhub-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of everything in the release. */}}
{{- define "flickrhub-operator.labels" -}}
{{ include "flickrhub-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: flickrhub
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What the operator does in the namespaces of hubs. */}}
{{- define "flickrhub-operator.rules" -}}
- apiGroups: [flickrhub.dev]
  resources: [flickrhubs, flickrhubclients]
  verbs: [get, list, watch, patch]
- apiGroups: [flickrhub.dev]
  resources: [flickrhubs/status, flickrhubclients/status]
  verbs: [patch]
# Owner references that block deletion need this where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [flickrhub.dev]
  resources: [flickrhubs/finalizers, flickrhubclients/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# A Vault of the user is logged in to by a service account of the hub, never by that of the operator.
- apiGroups: [""]
  resources: [serviceaccounts/token]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, patch, delete]
# To say why pods do not run, to restart those of the engines one after the other, and to mark the workers that are busy.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# Where KEDA scales the workers.
- apiGroups: [keda.sh]
  resources: [scaledobjects, triggerauthentications]
  verbs: [get, list, watch, create, patch, delete]
# Where a hub names an issuer of cert-manager.
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
