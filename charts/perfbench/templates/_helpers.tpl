{{/* Names and labels. Everything is named after the release. */}}
{{- define "perfbench.name" -}}
{{- if contains "perfbench" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-perfbench" (.Release.Name | trunc 30 | trimSuffix "-") -}}
{{- end -}}
{{- end }}

{{- define "perfbench.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "perfbench.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "perfbench.selector" -}}
app.kubernetes.io/name: perfbench
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "perfbench.labels" -}}
{{ include "perfbench.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "perfbench.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- end }}

{{/* Annotations for a Prometheus without the Prometheus operator, as YAML text. */}}
{{- define "perfbench.scrape" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9090"
prometheus.io/path: /metrics
{{- end }}

{{/* Annotations of all runners, as JSON. */}}
{{- define "perfbench.runnerAnnotations" -}}
{{- $scrape := ternary (include "perfbench.scrape" . | fromYaml) dict .Values.monitoring.scrapeAnnotations -}}
{{- merge (deepCopy .Values.runner.annotations) $scrape | toJson -}}
{{- end }}

{{/* What Pod Security "restricted" requires. */}}
{{- define "perfbench.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "perfbench.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The operator's rights: exactly RIGHTS of perfbench_operator/cluster.py. A test compares them. */}}
{{- define "perfbench.rules" -}}
- apiGroups: [perfbench.io]
  resources: [perfbenchmarks]
  verbs: [delete, get, list, patch, watch]
- apiGroups: [perfbench.io]
  resources: [perfbenchmarks/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch, watch]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [create, get]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end }}

{{- define "perfbench.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ . }}]
  verbs: [get, patch]
{{- end }}
