namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What a crash could leave of a storage.</summary>
/// <param name="Content">The bytes.</param>
/// <param name="Description">When the crash came and which sectors had reached the disk by then.</param>
/// <param name="Flushed">How many operations a flush had made durable.</param>
/// <param name="Begun">How many operations may have reached the disk.</param>
internal sealed record CrashState(byte[] Content, string Description, int Flushed, int Begun)
{
    public override string ToString() => Description;
}
