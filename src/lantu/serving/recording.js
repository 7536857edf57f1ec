// Record from the microphone as a WAV file. Pages put this before their own script.
function wav(buffer){  // 16 bits, the mean of all channels
  const n=buffer.length,view=new DataView(new ArrayBuffer(44+2*n));
  const text=(at,s)=>[...s].forEach((c,i)=>view.setUint8(at+i,c.charCodeAt(0)));
  text(0,'RIFF');view.setUint32(4,36+2*n,true);text(8,'WAVEfmt ');view.setUint32(16,16,true);view.setUint16(20,1,true);
  view.setUint16(22,1,true);view.setUint32(24,buffer.sampleRate,true);view.setUint32(28,2*buffer.sampleRate,true);
  view.setUint16(32,2,true);view.setUint16(34,16,true);text(36,'data');view.setUint32(40,2*n,true);
  const channels=[...Array(buffer.numberOfChannels).keys()].map(c=>buffer.getChannelData(c));
  for(let i=0;i<n;i++){let sum=0;for(const c of channels)sum+=c[i];
    view.setInt16(44+2*i,Math.round(32767*Math.max(-1,Math.min(1,sum/channels.length))),true)}
  return view.buffer;
}
function recordsInto(button,got,failed){  // a button that begins and ends a recording
  let recorder=null;
  button.addEventListener('click',async()=>{
    if(recorder){recorder.stop();return}
    let microphone;
    try{microphone=await navigator.mediaDevices.getUserMedia({audio:true})}
    catch(error){failed('No microphone: '+error.message);return}
    const parts=[];recorder=new MediaRecorder(microphone);
    recorder.ondataavailable=event=>parts.push(event.data);
    recorder.onstop=async()=>{
      for(const track of microphone.getTracks())track.stop();
      recorder=null;button.setAttribute('aria-pressed','false');button.textContent='Record';
      const heard=await new Blob(parts).arrayBuffer();
      got(wav(await new AudioContext().decodeAudioData(heard)));
    };
    recorder.start();button.setAttribute('aria-pressed','true');button.textContent='Stop';failed('');
  });
}
