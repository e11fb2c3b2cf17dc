{{/* Texts as the inside of a CEL list. */}}
{{- define "perfbench.quotedList" -}}
{{- $quoted := list }}
{{- range . }}
{{- $quoted = append $quoted (quote .) }}
{{- end }}
{{- join ", " $quoted -}}
{{- end }}

{{/* A CEL condition: a text is in a list, whose entries may end with * for any rest. */}}
{{- define "perfbench.isListed" -}}
{{- $exact := list }}
{{- $prefixes := list }}
{{- range .list }}
{{- if hasSuffix "*" . }}
{{- $prefixes = append $prefixes (trimSuffix "*" .) }}
{{- else }}
{{- $exact = append $exact . }}
{{- end }}
{{- end -}}
({{ .text }} in [{{ include "perfbench.quotedList" $exact }}] || [{{ include "perfbench.quotedList" $prefixes }}].exists(prefix, {{ .text }}.startsWith(prefix)))
{{- end }}

{{/* A policy and its binding: root, name, apiGroup, resources, operations, validations; variables; isOperator. */}}
{{- define "perfbench.policy" }}
{{- $name := printf "%s-%s-%s" (include "perfbench.name" .root) .root.Release.Namespace .name }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels: {{- include "perfbench.labels" .root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    {{- with .root.Values.namespaces }}
    namespaceSelector:
      matchExpressions:
        - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
    {{- end }}
    resourceRules:
      - apiGroups: [{{ quote .apiGroup }}]
        apiVersions: ["*"]
        operations: {{ toJson .operations }}
        resources: {{ toJson .resources }}
  {{- if .isOperator }}
  matchConditions:
    - name: the-operator
      expression: >-
        request.userInfo.username
        == "system:serviceaccount:{{ .root.Release.Namespace }}:{{ include "perfbench.serviceAccount" .root }}"
  {{- end }}
  {{- with .variables }}
  variables: {{- . | nindent 4 }}
  {{- end }}
  validations: {{- .validations | nindent 4 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels: {{- include "perfbench.labels" .root | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end }}

{{/* What the runner sends requests to, by name and by address, and the Secrets that it may read. */}}
{{- define "perfbench.benchmarkVariables" -}}
- name: spec
  expression: object.spec
- name: target
  expression: object.spec.target
- name: sources
  expression: "type(variables.target.metrics) == list ? variables.target.metrics : []"
- name: services
  expression: >-
    (has(variables.target.service) ? [variables.target.service] : [])
    + variables.sources.filter(source, has(source.service)).map(source, source.service)
- name: urls
  expression: >-
    (has(variables.target.url) ? [variables.target.url] : [])
    + (has(variables.target.proxy) ? [variables.target.proxy] : [])
    + variables.sources.filter(source, has(source.url)).map(source, source.url)
    + (has(variables.spec.results.push) ? [variables.spec.results.push] : [])
- name: secrets
  expression: >-
    (has(variables.target.apiKey) && has(variables.target.apiKey.secretKeyRef)
    ? [variables.target.apiKey.secretKeyRef.name] : [])
    + variables.target.headers.filter(header, has(header.secretKeyRef)).map(header, header.secretKeyRef.name)
    + (has(variables.target.tls.ca) && has(variables.target.tls.ca.secretKeyRef)
    ? [variables.target.tls.ca.secretKeyRef.name] : [])
    + variables.spec.runner.imagePullSecrets.map(secret, secret.name)
{{- end }}

{{/* Fields of spec.runner by what they are for. */}}
{{- define "perfbench.schedulingFields" -}}
resources nodeSelector affinity tolerations topologySpreadConstraints imagePullPolicy imagePullSecrets
{{- end }}
{{- define "perfbench.otherPodFields" -}}
env envFrom volumes volumeMounts podSecurityContext securityContext serviceAccountName priorityClassName runtimeClassName annotations labels
{{- end }}

{{/* The validations of PerfBenchmarks that the values ask for, as YAML; empty if none. */}}
{{- define "perfbench.benchmarkRules" -}}
{{- $policies := .Values.policies }}
{{- $refused := list }}
{{- if ne $policies.podOverrides "All" }}
{{- $refused = splitList " " (include "perfbench.otherPodFields" .) }}
{{- end }}
{{- if eq $policies.podOverrides "None" }}
{{- $refused = concat $refused (splitList " " (include "perfbench.schedulingFields" .)) }}
{{- end }}
{{- range $refused }}
- expression: "!has(variables.spec.runner.{{ . }}){{ if eq . "imagePullSecrets" }} || size(variables.spec.runner.imagePullSecrets) == 0{{ end }}"
  message: spec.runner.{{ . }} is not allowed here (policies.podOverrides of the perfbench chart)
  reason: Forbidden
{{- end }}
{{- with $policies.images }}
- expression: >-
    !has(variables.spec.runner.image) || {{ include "perfbench.isListed" (dict "text" "variables.spec.runner.image" "list" .) }}
  message: spec.runner.image is not in the list of allowed images (policies.images of the perfbench chart)
  reason: Forbidden
{{- end }}
{{- with $policies.secrets }}
{{- if eq $policies.podOverrides "All" }}
{{- fail "policies.secrets needs policies.podOverrides Scheduling or None: env, envFrom and volumes name Secrets, too" }}
{{- end }}
- expression: >-
    variables.secrets.all(name, {{ include "perfbench.isListed" (dict "text" "name" "list" .) }})
  message: a Secret of the spec is not in the list of allowed ones (policies.secrets of the perfbench chart)
  reason: Forbidden
{{- end }}
{{- if ne $policies.plugins "All" }}
- expression: >-
    variables.spec.plugins.all(plugin, {{ if eq $policies.plugins "Image" }}has(plugin.module){{ else }}false{{ end }})
  message: {{ if eq $policies.plugins "Image" }}plugins are those of the image{{ else }}no plugins are allowed{{ end }} here (policies.plugins of the perfbench chart)
  reason: Forbidden
{{- end }}
{{- if ne $policies.targets "All" }}
- expression: >-
    variables.services.all(service, !has(service.namespace) || service.namespace == request.namespace)
  message: a Service of another namespace is no target here (policies.targets of the perfbench chart)
  reason: Forbidden
- expression: >-
    variables.urls.all(address, address.matches("^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/.*)?$")
    && url(address).getHostname() in [{{ include "perfbench.quotedList" $policies.targetHosts }}])
  message: the host of a URL is not in the list of allowed ones (policies.targetHosts of the perfbench chart); use target.service
  reason: Forbidden
{{- end }}
{{- with $policies.excludedNamespaces }}
{{- if not $.Values.namespaces }}
- expression: >-
    !(request.namespace in [{{ include "perfbench.quotedList" . }}])
  message: no PerfBenchmark runs in a namespace of the system (policies.excludedNamespaces of the perfbench chart)
  reason: Forbidden
{{- end }}
{{- end }}
{{- end }}

{{/* The operator's account: what it makes is of a PerfBenchmark, and a runner's pod has nothing that it never has. */}}
{{- define "perfbench.jobRules" -}}
- expression: >-
    has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists_one(owner,
    has(owner.controller) && owner.controller && owner.kind == "PerfBenchmark" && owner.apiVersion.startsWith("perfbench.io/"))
  message: the operator makes Jobs of PerfBenchmarks alone, and touches no others
  reason: Forbidden
- expression: >-
    request.operation != "CREATE" || !(request.namespace in [{{ include "perfbench.quotedList" .Values.policies.excludedNamespaces }}])
  message: the operator makes no Jobs in namespaces of the system
  reason: Forbidden
- expression: >-
    request.operation != "CREATE"
    || (object.spec.template.spec.?automountServiceAccountToken.orValue(true) == false
    && !object.spec.template.spec.?hostNetwork.orValue(false) && !object.spec.template.spec.?hostPID.orValue(false)
    && !object.spec.template.spec.?hostIPC.orValue(false) && !has(object.spec.template.spec.initContainers)
    && object.spec.template.spec.containers.all(container, container.name == "runner")
    && (object.spec.parallelism == 1 || object.spec.?completionMode.orValue("") == "Indexed"))
  message: a runner's pod has one container, no token and nothing of its node
  reason: Forbidden
- expression: >-
    request.operation == "CREATE" || (object.spec.template == oldObject.spec.template
    && object.spec.parallelism == oldObject.spec.parallelism && object.spec.backoffLimit == oldObject.spec.backoffLimit
    && object.spec.?activeDeadlineSeconds == oldObject.spec.?activeDeadlineSeconds
    && object.spec.?ttlSecondsAfterFinished == oldObject.spec.?ttlSecondsAfterFinished
    && object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences
    && object.metadata.?finalizers == oldObject.metadata.?finalizers)
  message: of a Job the operator changes nothing but suspend
  reason: Forbidden
{{- end }}

{{- define "perfbench.jobDeletionRules" -}}
- expression: >-
    oldObject.metadata.?ownerReferences.orValue([]).exists_one(owner, owner.?controller.orValue(false)
    && owner.kind == "PerfBenchmark" && owner.apiVersion.startsWith("perfbench.io/"))
    && "kueue.x-k8s.io/queue-name" in oldObject.metadata.?labels.orValue({})
  message: the operator deletes no Jobs but those of PerfBenchmarks in a queue of Kueue
  reason: Forbidden
{{- end }}

{{- define "perfbench.podRules" -}}
- expression: >-
    has(oldObject.metadata.labels) && "app.kubernetes.io/managed-by" in oldObject.metadata.labels
    && oldObject.metadata.labels["app.kubernetes.io/managed-by"] == "perfbench-operator"
  message: the operator touches no pods but runners
  reason: Forbidden
- expression: >-
    object.spec.containers == oldObject.spec.containers
    && object.spec.?initContainers == oldObject.spec.?initContainers
    && object.spec.?tolerations == oldObject.spec.?tolerations
    && object.spec.?terminationGracePeriodSeconds == oldObject.spec.?terminationGracePeriodSeconds
    && object.metadata.?labels == oldObject.metadata.?labels
    && object.metadata.?annotations == oldObject.metadata.?annotations
    && object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences
    && object.metadata.?finalizers == oldObject.metadata.?finalizers
  message: of a pod the operator changes nothing but activeDeadlineSeconds
  reason: Forbidden
{{- end }}

{{- define "perfbench.objectRules" -}}
- expression: >-
    has(object.metadata.labels) && "app.kubernetes.io/managed-by" in object.metadata.labels
    && object.metadata.labels["app.kubernetes.io/managed-by"] == "perfbench-operator"
  message: the operator labels what it makes
  reason: Forbidden
{{- end }}

{{- define "perfbench.secretRules" -}}
{{ include "perfbench.objectRules" . }}
- expression: object.type == "Opaque"
  message: the operator makes no Secrets but tokens of runs
  reason: Forbidden
{{- end }}

{{- define "perfbench.serviceRules" -}}
{{ include "perfbench.objectRules" . }}
- expression: object.spec.?clusterIP.orValue("") == "None"
  message: the operator makes no Services but headless ones, for leaders of runs
  reason: Forbidden
{{- end }}

{{- define "perfbench.ownBenchmarkRules" -}}
- expression: request.operation != "UPDATE" || object.spec == oldObject.spec
  message: the operator changes no spec
  reason: Forbidden
- expression: request.operation != "DELETE" || has(oldObject.spec.ttlSecondsAfterFinished)
  message: the operator deletes no PerfBenchmark without ttlSecondsAfterFinished
  reason: Forbidden
{{- end }}
