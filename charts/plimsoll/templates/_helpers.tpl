{{- define "plimsoll.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "plimsoll.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "plimsoll.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* The name label is fixed: it is how Plimsoll finds its own webhook configurations. */ -}}
{{- define "plimsoll.selectorLabels" -}}
app.kubernetes.io/name: plimsoll
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "plimsoll.labels" -}}
{{ include "plimsoll.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "plimsoll.image" -}}
{{- $name := .Values.image.repository -}}
{{- if .Values.image.registry -}}
{{- $name = printf "%s/%s" .Values.image.registry $name -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The Secret that is mounted: one that is there, or cert-manager's. Empty: Plimsoll keeps its own. */ -}}
{{- define "plimsoll.tlsSecretName" -}}
{{- if .Values.tls.secretName -}}
{{- .Values.tls.secretName -}}
{{- else if .Values.certManager.enabled -}}
{{- include "plimsoll.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{- define "plimsoll.webhookAnnotations" -}}
{{- with .Values.webhook.annotations }}
{{- toYaml . }}
{{- end }}
{{- if .Values.certManager.enabled }}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "plimsoll.fullname" . }}
{{- end }}
{{- end -}}

{{- /* Takes a list of the root context and the path. */ -}}
{{- define "plimsoll.clientConfig" -}}
{{- $root := index . 0 -}}
{{- $path := index . 1 -}}
clientConfig:
  {{- with $root.Values.webhook.caBundle }}
  caBundle: {{ . }}
  {{- end }}
  {{- if $root.Values.webhook.url }}
  url: {{ printf "%s%s" (trimSuffix "/" $root.Values.webhook.url) $path | quote }}
  {{- else }}
  service:
    name: {{ include "plimsoll.fullname" $root }}
    namespace: {{ $root.Release.Namespace }}
    path: {{ $path }}
    port: {{ $root.Values.service.port }}
  {{- end }}
{{- end -}}

{{- /*
Excluded by name, through a label that the API server sets and nobody can forge. Plimsoll's own namespace is among them:
its replicas must be able to start while none of them answers. Outside the cluster (webhook.url) it has none.
*/ -}}
{{- define "plimsoll.excludedNamespaces" -}}
{{- $names := list "kube-system" "kube-node-lease" "kube-public" -}}
{{- if not .Values.webhook.url -}}
{{- $names = append $names .Release.Namespace -}}
{{- end -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values:
  {{- range $names | uniq }}
  - {{ . | quote }}
  {{- end }}
{{- end -}}

{{- define "plimsoll.namespaceSelector" -}}
namespaceSelector:
  {{- with .Values.webhook.namespaceSelector.matchLabels }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  matchExpressions:
  {{- include "plimsoll.excludedNamespaces" . | nindent 2 }}
  {{- with .Values.webhook.namespaceSelector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* CEL: scaling. The field is absent, not empty, where there is no subresource. */ -}}
{{- define "plimsoll.isScale" -}}
has(request.subResource) && request.subResource == 'scale'
{{- end -}}

{{- /* CEL: scaling by an autoscaler. */ -}}
{{- define "plimsoll.isAutoscalerScale" -}}
{{ include "plimsoll.isScale" . }} && request.userInfo.username in {{ toJson .Values.webhook.autoscalers | replace "\"" "'" }}
{{- end -}}

{{- /* The cluster's own loops are skipped, unless they scale. */ -}}
{{- define "plimsoll.notController" -}}
{{- $names := toJson .Values.webhook.controllers | replace "\"" "'" -}}
- name: not-a-cluster-controller
  expression: {{ printf "(%s) || !(request.userInfo.username.startsWith('system:node:') || request.userInfo.username in %s)" (include "plimsoll.isScale" .) $names | quote }}
{{- end -}}

{{- /*
CEL: an annotation that Plimsoll goes by appears, changes or goes: a waiver, a declared singleton. oldObject is null on CREATE.
*/ -}}
{{- define "plimsoll.declarationsChange" -}}
{{- $declares := "(k.startsWith('waiver.plimsoll.dev/') || k.startsWith('plimsoll.dev/'))" -}}
{{- $has := "has(object.metadata.annotations)" -}}
{{- $had := "oldObject != null && has(oldObject.metadata.annotations)" -}}
{{- $same := printf "%s && k in oldObject.metadata.annotations && oldObject.metadata.annotations[k] == object.metadata.annotations[k]" $had -}}
{{- $kept := printf "%s && k in object.metadata.annotations" $has -}}
({{ $has }} && object.metadata.annotations.exists(k, {{ $declares }} && !({{ $same }}))) || (
{{- $had }} && oldObject.metadata.annotations.exists(k, {{ $declares }} && !({{ $kept }})))
{{- end -}}

{{- define "plimsoll.extraMatchConditions" -}}
{{- with .Values.webhook.matchConditions }}
{{- toYaml . }}
{{- end }}
{{- end -}}
