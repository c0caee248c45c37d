#[derive(Clone, PartialEq, ::prost::Message)]
pub struct EnvelopeMessage {
    #[prost(string, tag = "1")]
    pub message_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub actor_id: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub actor_type: ::prost::alloc::string::String,
    #[prost(string, tag = "4")]
    pub method_name: ::prost::alloc::string::String,
    #[prost(bytes = "bytes", tag = "5")]
    pub payload: ::prost::bytes::Bytes,
    #[prost(string, tag = "6")]
    pub correlation_id: ::prost::alloc::string::String,
    #[prost(int64, tag = "7")]
    pub timestamp: i64,
    #[prost(bytes = "bytes", tag = "8")]
    pub response_payload: ::prost::bytes::Bytes,
    #[prost(bool, tag = "9")]
    pub is_error: bool,
    #[prost(string, tag = "10")]
    pub error_message: ::prost::alloc::string::String,
    #[prost(int32, tag = "12")]
    pub kind: i32,
    #[prost(uint64, tag = "13")]
    pub timeout_ms: u64,
    #[prost(bool, tag = "14")]
    pub one_way: bool,
    #[prost(uint32, tag = "15")]
    pub error_code: u32,
    #[prost(int32, tag = "16")]
    pub delivered: i32,
    #[prost(uint32, tag = "17")]
    pub hop_count: u32,
    #[prost(string, tag = "18")]
    pub origin: ::prost::alloc::string::String,
    #[prost(string, tag = "19")]
    pub traceparent: ::prost::alloc::string::String,
    #[prost(uint64, tag = "20")]
    pub view_version: u64,
    #[prost(bool, tag = "21")]
    pub anywhere: bool,
    #[prost(bool, tag = "22")]
    pub retryable: bool,
}
