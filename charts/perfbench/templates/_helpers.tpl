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

{{/* User and group id of pods, or none. OpenShift gives each namespace ids of its own and refuses others. */}}
{{- define "perfbench.userId" -}}
{{- if not (kindIs "string" .Values.userId) -}}
{{- .Values.userId | int64 -}}
{{- else if ne .Values.userId "auto" -}}
{{- .Values.userId -}}
{{- else -}}
{{- ternary "none" "65532" (.Capabilities.APIVersions.Has "security.openshift.io/v1") -}}
{{- end -}}
{{- end }}

{{/* Names of pull secrets, separated by commas; each is given by its name or as a pod has it. */}}
{{- define "perfbench.pullSecretNames" -}}
{{- $names := list }}
{{- range . }}
{{- $names = append $names (kindIs "string" . | ternary (dict "name" .) . ).name }}
{{- end }}
{{- join "," $names -}}
{{- end }}

{{- define "perfbench.pullSecrets" -}}
{{- with include "perfbench.pullSecretNames" . }}
imagePullSecrets:
{{- range splitList "," . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* What Pod Security "restricted" requires. */}}
{{- define "perfbench.podSecurity" -}}
runAsNonRoot: true
{{- $user := include "perfbench.userId" . }}
{{- if ne $user "none" }}
runAsUser: {{ $user }}
runAsGroup: {{ $user }}
{{- end }}
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
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch, watch]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [create, get]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]  # the nodes of a target's pods
- apiGroups: [""]
  resources: [secrets, services]
  verbs: [create]  # of a run of several runners: its token, and where its leader is
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
