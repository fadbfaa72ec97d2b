namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>Code in one room uses a type of another one.</summary>
/// <param name="From">The room that uses: a folder below the library's, <c>""</c> for that one.</param>
/// <param name="To">The room that declares the type.</param>
/// <param name="Type">The type's name.</param>
/// <param name="File">The file that uses it.</param>
internal sealed record RoomUse(string From, string To, string Type, string File);
